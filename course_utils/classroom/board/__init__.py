"""A board for the lecture hall: how many have passed each exercise, and which mistakes are common, live.

`server` is the instructor's side (`python start.py class`), `client` the student's (`join`). Without `join` nothing is
sent.
"""
