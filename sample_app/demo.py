"""Who can sign in to a demo."""

from __future__ import annotations

from typing import Final, NamedTuple

from .models import Role


class Person(NamedTuple):
    """One of the sign-ins that the sign-in page of a demo offers."""

    email: str
    name: str
    hotel: str
    role: Role


DEMO_PASSWORD: Final = "demo"
DEMO_PEOPLE: Final = (
    Person("admin@plaza.example", "Camille Moreau", "plaza", Role.admin),
    Person("staff@plaza.example", "Louis Petit", "plaza", Role.staff),
    Person("admin@seaside.example", "Inès Rossi", "seaside", Role.admin),
)
