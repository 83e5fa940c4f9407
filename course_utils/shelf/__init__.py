"""What is loaded: real models (`models`, `classifiers`, `polarity`, `denoisers`, `chat`), texts (`corpora`), and their files."""
