"""For instructors and authors: `grade` submissions, write the student edition (`handout`), lecture `decks` and a site
(`export`), save notebooks (`save_notebook`). And for students: which exercises are passed is kept by `progress`."""
