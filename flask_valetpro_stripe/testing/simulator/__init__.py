"""A simulator of Stripe: the API, Connect's OAuth and the hosted pages, in one WSGI app."""
