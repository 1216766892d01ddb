"""Refuse to build a package without htmx: it is not in git, and every settings page would miss it in silence."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import FileError

HTMX = "flask_valetpro_stripe/static/valetpro_stripe/htmx.min.js"


class BuildWithHtmx(build_py):
    """The build of the package, once what npm brings is in it."""

    def run(self) -> None:
        # An editable installation reads the file from the checkout, where it may arrive later.
        if not self.editable_mode and not Path(HTMX).is_file():
            raise FileError(
                f"{HTMX} is missing, and the settings pages load it. Run 'make assets' first; it needs npm."
            )
        super().run()


setup(cmdclass={"build_py": BuildWithHtmx})
