"""Everything is in pyproject.toml, but for one thing: `pip install -e` would leave the data files out, since setuptools asks for them by this name."""

from setuptools import Distribution, setup

Distribution.has_data = Distribution.has_data_files
setup()
