"""For instructors and authors: `grade` submissions, write the student edition (`handout`), lecture decks and a site
(`export`), save notebooks (`save_notebook`), show a class how far it is (`board`). And for students: which exercises are passed is kept by `progress`."""
