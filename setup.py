"""All is said in pyproject.toml, but `pip install -e` would leave the data files out: setuptools asks for them by a
name that it lacks."""

from setuptools import Distribution, setup

Distribution.has_data = Distribution.has_data_files
setup()
