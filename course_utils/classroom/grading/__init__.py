"""What `course_utils.classroom.grade` is made of: `python -m course_utils.classroom.grade` is its command."""
