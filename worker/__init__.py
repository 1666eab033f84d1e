# SPDX-License-Identifier: Apache-2.0
"""turbo-hipster: takes Gearman jobs from Zuul, runs playbooks, and gives back a verdict."""
