"""HTTP for operators: who is admitted, the bounded server, the bounded client."""
