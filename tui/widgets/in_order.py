"""Keys in the order they were pressed, also where a slow link hands over many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.events import Key
from textual.widget import Widget

if TYPE_CHECKING:
    Mixed = Widget
else:
    Mixed = object  # Textual reads the rules and bindings of one base class only


class InOrder(Mixed):
    """For a widget: serves every key where it has the focus, before it looks at the next.

    In Textual a sign is taken at once, while a key that is bound to something travels to the app and back first, and
    the keys after it are served meanwhile: by whoever had the focus before it.
    """

    async def _on_key(self, event: Key) -> None:
        focused = self.screen.focused
        if focused is not None and focused is not self:  # a key before this one has moved on
            event.stop()
            event.prevent_default()
            focused.post_message(Key(event.key, event.character))
        elif not self.takes(event):
            active = self.screen.active_bindings.get(event.key)
            if active is not None and active.enabled:
                event.stop()
                event.prevent_default()
                await self.app.run_action(active.binding.action, active.node)

    def takes(self, event: Key) -> bool:
        """Whether the widget makes something of this key itself, without a binding."""
        return False
