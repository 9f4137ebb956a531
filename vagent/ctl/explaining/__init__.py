"""One real request through a port's path, and every decision on its way."""
