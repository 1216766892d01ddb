"""The settings pages of a tenant admin."""

from .views import make_blueprint

__all__ = ["make_blueprint"]
