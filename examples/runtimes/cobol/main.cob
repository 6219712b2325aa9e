*> A function in COBOL. The program stays; so does what is in its working storage.
identification division.
program-id. bootstrap.
data division.
working-storage section.
01  payload          pic x(6291556).
01  payload-size     binary-long.
01  answer         pic x(6291556).
01  answer-size    binary-long.
01  position-next  binary-long.
01  hits           binary-long.
01  asked-to-sleep binary-long.
01  asked-to-exit  binary-long.
01  invocations    binary-long value 0.
01  shown          pic z(8)9.
01  setting        pic x(256).
procedure division.
    accept setting from environment "FAIL_INIT"
        on exception move spaces to setting
    end-accept
    if setting not = spaces
        call "lambda_init_failed" using
            by reference z"ConfigurationError" z"asked to fail at the start"
        move 1 to return-code
        stop run
    end-if
    perform forever
        call "lambda_next" using payload payload-size
        add 1 to invocations
        move 0 to hits asked-to-sleep asked-to-exit
        inspect payload(1:payload-size) tallying hits for all '"fail"'
            asked-to-sleep for all '"sleep"' asked-to-exit for all '"exit"'
        if asked-to-sleep > 0
            call "C$SLEEP" using 60
        end-if
        if asked-to-exit > 0
            move 3 to return-code
            stop run
        end-if
        if hits > 0
            call "lambda_fail" using
                by reference z"InvalidEvent" z"asked to fail"
        else
            perform make-answer
            call "lambda_respond" using by reference answer by value answer-size
        end-if
    end-perform.

make-answer.
    move invocations to shown
    move spaces to setting
    accept setting from environment "GREETING"
        on exception move spaces to setting
    end-accept
    move 1 to position-next
    string '{"count": ' function trim(shown)
        ', "greeting": "' function trim(setting)
        '", "event": ' payload(1:payload-size) '}'
        delimited by size into answer with pointer position-next
    end-string
    subtract 1 from position-next giving answer-size.
