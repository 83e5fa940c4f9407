"""The exercises of notebook 13, in its order."""

ORDER = ("cover", "next_byte", "mix_bytes", "bits_per_byte")
