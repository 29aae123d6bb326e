"""A plan of formats: chosen under a budget, audited as a twin, and held against others."""
