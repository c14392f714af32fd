"""Quotas: the plan book, the atomic decision and the header fields that tell a client about it.

The one piece of domain that is shared, because gateway and ratelimit-service must agree on it to the bit.
"""
