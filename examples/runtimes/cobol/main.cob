*> A function in COBOL: function.handler answers as a whole, function.streams bit by bit.
*> The program stays; so does what is in its working storage.
identification division.
program-id. bootstrap.
data division.
working-storage section.
01  payload          pic x(6291556).
01  payload-size     binary-long.
01  answer         pic x(6291556).
01  answer-size    binary-long.
01  position-next  binary-long.
01  asked-to-fail  binary-long.
01  asked-to-sleep binary-long.
01  asked-to-exit  binary-long.
01  asked-for-all  binary-long.
01  asked-layer    binary-long.
01  invocations    binary-long value 0.
01  shown          pic z(8)9.
01  setting        pic x(256).
01  handler        pic x(128).
01  layer-program  pic x(8) value "who".
01  layer-answer   pic x(64).
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
    accept handler from environment "_HANDLER"
    perform forever
        call "lambda_next" using payload payload-size
        move 0 to asked-to-fail asked-to-sleep asked-to-exit asked-for-all asked-layer
        inspect payload(1:payload-size) tallying asked-to-fail for all '"fail"'
            asked-to-sleep for all '"sleep"' asked-to-exit for all '"exit"'
            asked-for-all for all '"environment"' asked-layer for all '"layer"'
        if handler = "function.streams"
            perform stream-answer
        else
            perform whole-answer
        end-if
    end-perform.

stream-answer.
    call "lambda_send" using by reference "first," by value 6
    if asked-to-fail > 0
        call "lambda_fail" using by reference z"InvalidEvent" z"asked to fail"
    else
        call "lambda_send" using by reference "second" by value 6
        call "lambda_end"
    end-if.

whole-answer.
    add 1 to invocations
    if asked-to-sleep > 0
        call "C$SLEEP" using 60
    end-if
    if asked-to-exit > 0
        move 3 to return-code
        stop run
    end-if
    if asked-to-fail > 0
        call "lambda_fail" using by reference z"InvalidEvent" z"asked to fail"
    else
        evaluate true
            when asked-for-all > 0 call "lambda_environment" using answer answer-size
            when asked-layer > 0 perform make-layer-answer
            when other perform make-answer
        end-evaluate
        call "lambda_respond" using by reference answer by value answer-size
    end-if.

*> A subprogram that a layer brings: libcob looks for it in COB_LIBRARY_PATH.
make-layer-answer.
    call layer-program using layer-answer
    move 1 to position-next
    string '"' function trim(layer-answer) '"'
        delimited by size into answer with pointer position-next
    end-string
    subtract 1 from position-next giving answer-size.

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
