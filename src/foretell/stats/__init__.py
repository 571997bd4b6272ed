"""Statistics: does a signal predict a behaviour?"""
