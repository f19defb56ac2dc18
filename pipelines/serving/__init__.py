"""Policies that reach servers: what is to be served, local vLLM servers, the agent beside them; and a talk with a policy."""
