"""HTTP for operators: who is admitted, the bounded server, and the bounded client."""
