"""Loads what the course works with: models (`models`, `classifiers`, `polarity`, `denoisers`, `chat`) and texts
(`corpora`).

`assets` fetches what is too large for the repository, `deltas` and `files` read and write their files,
`device` says where models compute."""
