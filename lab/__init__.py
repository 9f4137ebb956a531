"""A host and its guests out of network namespaces: for the demo, tests, benchmarks."""
