"""Session tokens as Amazon's IMDSv2 has them: keys, tokens, who must show one."""
