"""Whether a conversation teaches something, and who may speak after whom. The sentences say why a row is bad."""

from __future__ import annotations

from itertools import pairwise

from trainer.data.messages import Conversation, Message, RowError


def checked(talk: Conversation) -> Conversation:
    """Itself, if it teaches something and is one that a chat template can take. Raises RowError."""
    if _is_plain(talk.messages):
        return talk
    if not talk.messages:
        if not talk.text.strip():
            raise RowError("the text is blank")
        return talk
    turns = [message for message in talk.messages if message.role != "system"]
    answers = [message for message in turns if message.role == "assistant"]
    if not answers:
        raise RowError("no assistant message, so nothing to learn")
    if turns[-1].role != "assistant":
        who = "the user" if turns[-1].role == "user" else "a tool's result"
        raise RowError(f"it ends with {who}; the last message must be the assistant's")
    if not any(message.learn for message in answers):
        raise RowError("every assistant message has weight 0, so nothing to learn")
    if any(not message.tool_calls and not message.content.strip() for message in answers):
        raise RowError("an assistant message is blank")
    if turns[0].role == "user" and not turns[0].content.strip():
        raise RowError("the user's message is blank")
    if turns[0].role == "tool":
        raise RowError("a tool's result follows no tool call")
    for before, after in pairwise(turns):
        if after.role == "tool":
            if before.role == "user" or (before.role == "assistant" and not _calls(before)):
                raise RowError("a tool's result follows no tool call")
        elif before.role == after.role:
            raise RowError("two messages in a row have the same role")
    return talk


def _is_plain(messages: tuple[Message, ...]) -> bool:
    """A question and its answer: most rows are, and need no more looking."""
    if len(messages) != 2:
        return False
    asked, answer = messages
    if (asked.role, answer.role) != ("user", "assistant") or not answer.learn:
        return False
    return bool(asked.content.strip() and answer.content.strip())


def _calls(message: Message) -> bool:
    """Some sets write a call as text of the answer, as the Hermes models do."""
    return bool(message.tool_calls) or "<tool_call>" in message.content
