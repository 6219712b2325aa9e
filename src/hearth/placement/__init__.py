"""On which worker does a new sandbox start?"""
