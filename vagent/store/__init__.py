"""Where shared configuration lives: one interface, SQLite behind it."""
