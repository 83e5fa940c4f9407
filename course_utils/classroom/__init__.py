"""For instructors and authors: grading, the student edition, decks and site, saving notebooks; and the file of progress."""
