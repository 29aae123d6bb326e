"""The routing analysis, of mixtures of experts: is every token still sent to the same experts?"""
