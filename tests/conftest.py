from hypothesis import settings

# A busy machine is no failure: examples have no time limit of their own.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
