"""Which fabric endpoints answer, as flows and checks show."""
