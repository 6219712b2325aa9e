<?php
// Read once, when the sandbox starts. What is in static variables stays for the next event.

class InvalidEvent extends Exception {}
class ConfigurationError extends Exception {}

if (getenv('FAIL_INIT')) {
    throw new ConfigurationError('asked to fail at the start');
}

function handler(mixed $event, object $context): mixed
{
    static $count = 0;
    $count++;
    if (isset($event->fail)) {
        throw new InvalidEvent('asked to fail');
    }
    if (isset($event->sleep)) {
        sleep(60);
    }
    if (isset($event->exit)) {
        exit(3);
    }
    if (isset($event->environment)) {
        return getenv();
    }
    if (isset($event->layer)) {
        require_once 'who.php'; // of a layer: bootstrap puts /opt/php on the include path
        return who();
    }
    return ['count' => $count, 'greeting' => getenv('GREETING') ?: '', 'event' => $event];
}

// A generator answers bit by bit.
function streams(mixed $event, object $context): Generator
{
    yield 'first,';
    if (isset($event->fail)) {
        throw new InvalidEvent('asked to fail');
    }
    yield 'second';
}
