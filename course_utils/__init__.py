"""Many Models: the small library behind the course's notebooks. One module a concept; see README.md."""
