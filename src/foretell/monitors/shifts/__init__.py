"""A monitor on other answers than those it was made from: does its rate hold there, and do the answers differ?"""
