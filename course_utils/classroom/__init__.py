"""For instructors and authors: `grade` submissions, write the student edition (`handout`), lecture `decks`, save
notebooks (`save_notebook`), see in a lecture how far the class is (`board`). And for students: which exercises are
passed is kept by `progress`."""
