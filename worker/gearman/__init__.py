# SPDX-License-Identifier: Apache-2.0
"""Everything that speaks Gearman: connections, slots, the server's health and queue, and what Zuul is sent of a build.

With `client`, `connection` and `worker` it has the only modules that know the library `gear`. Imports `config`,
`verdict` and what the worker's top level has of progress and status; the builds, the service and `th submit` import it.
"""
