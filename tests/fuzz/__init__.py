"""Fuzzing of the pure parsers: promises, a corpus, and the fuzzer's entry."""
