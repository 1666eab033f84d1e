# SPDX-License-Identifier: Apache-2.0
"""Everything that uses Gearman: connections, slots, the server's health and queue, and the reports to Zuul.

Its modules `client`, `connection` and `worker` are the only ones that use the library `gear`. Imports `config`,
`verdict` and, of the top level, progress and status; the builds, the service and `th submit` import it.
"""
