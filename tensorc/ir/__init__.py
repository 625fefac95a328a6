"""The intermediate representation that every layer shares."""
