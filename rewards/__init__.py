"""What work is worth. So far: receipts that anyone can check.

receipts.py  a member's commitment and the certificate that took it in; whether its data can be verified
"""
