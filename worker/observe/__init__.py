# SPDX-License-Identifier: Apache-2.0
"""Monitoring of the worker: metrics, sensors, the status socket and notifications to systemd.

Imports `builds`, `config` and `verdict`; the service and the commands import it.
"""
