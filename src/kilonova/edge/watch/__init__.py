"""What kilonova tells beyond the dialects it speaks: stories, explanations, status. Additive and ours."""
