"""This library behind the names and signatures of others: where code already says lightly or torchvision, change the
import and nothing else.
"""
