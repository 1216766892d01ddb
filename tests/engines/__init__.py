"""The engines: whoever works on stored events, once each, and tidies up after them."""
