"""Who checks whom. So far: what can be told of a commitment without replaying any work.

commitment.py  a commitment held against the round it claims, and equivocation as proof
"""
