# SPDX-License-Identifier: Apache-2.0
"""How the worker is seen from outside: metrics, sensors, the status socket and systemd.

Imports `builds`, `config` and `verdict`; the service and the commands import it.
"""
