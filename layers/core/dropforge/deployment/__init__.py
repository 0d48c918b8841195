"""Which version answers: active model, activation, canary and shadow, rollback, deployment history."""
