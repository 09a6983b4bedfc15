"""One file per file format: bytes -> named arrays, and back. No format imports another package's loader."""
