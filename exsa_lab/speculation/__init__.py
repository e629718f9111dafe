"""The mathematics of speculative decoding: pure functions and policies, no model runtime, no clock, no threads."""
