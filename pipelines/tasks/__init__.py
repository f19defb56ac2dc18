"""The pool of tasks: from sources, from proposers; accepted, split, rendered."""
