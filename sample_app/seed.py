"""Demo data: two hotels, three people, a handful of cars, and what earlier guests paid."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from .demo import DEMO_PASSWORD, DEMO_PEOPLE
from .extensions import db
from .history import add_history
from .models import CarState, Extra, Tenant, Ticket, User


class _Car(NamedTuple):
    guest_name: str
    phone: str
    plate: str
    amount: int
    state: CarState
    minutes_ago: int
    #: What the first link is to hold, instead of charging.
    deposit: int | None = None
    extras: tuple[tuple[str, int], ...] = ()


_HOTELS: Final = {
    "plaza": {"name": "Plaza Hotel", "city": "Paris"},
    "seaside": {"name": "Seaside Resort", "city": "Nice"},
}
_CARS: Final = {
    "plaza": (
        _Car("Amélie Laurent", "+33612345601", "GA-482-KT", 4500, CarState.delivered, 310),
        _Car("Jonas Weber", "+4915112345602", "M-JW 2107", 3500, CarState.parked, 190),
        _Car("Priya Nair", "+447700900603", "LD71 ORT", 3500, CarState.requested, 95, 6000, (("Car wash", 1500),)),
        _Car("Mateo Ruiz", "+34612345604", "5521 LKV", 2500, CarState.parked, 40, extras=(("Charging", 1200),)),
    ),
    "seaside": (
        _Car("Chiara Conti", "+393331234605", "FX 830 ZE", 3000, CarState.parked, 130),
        _Car("Hugo Bernard", "+33612345606", "EP-119-RC", 3000, CarState.requested, 55),
        _Car("Ingrid Solberg", "+4791234607", "EK 54821", 2000, CarState.parked, 20),
    ),
}


def seed() -> None:
    """Put the demo data where they are missing. Running it again changes nothing."""
    for slug in _HOTELS:
        if not db.session.scalar(select(Tenant.id).where(Tenant.slug == slug)):
            _add_hotel(slug)
    db.session.commit()


def _add_hotel(slug: str) -> None:
    hotel = Tenant(slug=slug, **_HOTELS[slug], timezone="Europe/Paris", currency="eur", dialling_code="33")
    db.session.add(hotel)
    db.session.flush()
    password_hash = generate_password_hash(DEMO_PASSWORD, current_app.config["PASSWORD_METHOD"])
    for person in DEMO_PEOPLE:
        if person.hotel == slug:
            db.session.add(
                User(
                    tenant_id=hotel.id,
                    email=person.email,
                    name=person.name,
                    role=person.role,
                    password_hash=password_hash,
                )
            )
    db.session.add_all(_tickets(hotel, _CARS[slug]))


def _tickets(hotel: Tenant, cars: Iterable[_Car]) -> Iterable[Ticket]:
    now = datetime.now(UTC)
    for number, car in enumerate(cars, start=1):
        yield Ticket(
            tenant_id=hotel.id,
            number=number,
            operation=f"seed-{number}",
            guest_name=car.guest_name,
            phone=car.phone,
            plate=car.plate,
            amount=car.amount,
            currency=hotel.currency,
            deposit=car.deposit,
            extras=[
                Extra(tenant_id=hotel.id, operation=f"seed-{number}-{place}", name=name, amount=amount)
                for place, (name, amount) in enumerate(car.extras, start=1)
            ],
            state=car.state,
            created_at=now - timedelta(minutes=car.minutes_ago),
        )


@click.command("seed")
@with_appcontext
def seed_command() -> None:
    """Put demo hotels, people and tickets into the database."""
    seed()
    add_history()
    click.echo(f"The demo data are in place. Sign in with one of these, password '{DEMO_PASSWORD}':")
    for person in DEMO_PEOPLE:
        click.echo(f"  {person.email}")
