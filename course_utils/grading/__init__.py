"""What `course_utils.grade` is made of: `python -m course_utils.grade` is its command."""
