# frozen_string_literal: true

# What runs a Ruby function: a client of the Runtime API in Ruby's own library.
#
# The contract is that of AWS's client, whose names functions may know: LambdaHandler is the self of
# handlers, AwsLambda::Marshaller may be redefined, `puts` and loggers write one event at a time. What
# a handler raises is reported as `Function<Class>`, what loading it raises as `Init<Class>`; a name
# that is not there, and what is no StandardError, end the process too.

require "json"
require "logger"
require "socket"
require "stringio"

# What a handler is told about its invocation.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :deadline_ms, :identity, :client_context,
              :tenant_id, :function_name, :function_version, :memory_limit_in_mb, :log_group_name,
              :log_stream_name

  def initialize(event)
    @aws_request_id = event["Lambda-Runtime-Aws-Request-Id"]
    @invoked_function_arn = event["Lambda-Runtime-Invoked-Function-Arn"]
    @deadline_ms = event["Lambda-Runtime-Deadline-Ms"].to_i
    @identity = parsed(event["Lambda-Runtime-Cognito-Identity"])
    @client_context = parsed(event["Lambda-Runtime-Client-Context"])
    @tenant_id = event["Lambda-Runtime-Aws-Tenant-Id"]
    @function_name = ENV["AWS_LAMBDA_FUNCTION_NAME"]
    @function_version = ENV["AWS_LAMBDA_FUNCTION_VERSION"]
    @memory_limit_in_mb = ENV["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    @log_group_name = ENV["AWS_LAMBDA_LOG_GROUP_NAME"]
    @log_stream_name = ENV["AWS_LAMBDA_LOG_STREAM_NAME"]
  end

  def get_remaining_time_in_millis
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end

  private

  def parsed(text)
    text.nil? || text.empty? ? nil : JSON.parse(text)
  end
end

module AwsLambda
  # From an event to what the handler gets, and from its result to a body (and its content type).
  class Marshaller
    class << self
      def marshall_request(request)
        request["Content-Type"] == "application/json" ? JSON.parse(request.body) : request.body
      end

      def marshall_response(result)
        case result
        when StringIO, IO then [result, "application/unknown"]
        else result.to_json
        end
      end
    end
  end
end

# Finds the method that `_HANDLER` names, and is what a method outside of a class runs in.
class LambdaHandler
  attr_reader :handler_file_name, :handler_method_name

  def initialize(env_handler:)
    parts = env_handler.split(".")
    unless [2, 3].include?(parts.size)
      raise ArgumentError, "Invalid handler #{parts}, must be of form FILENAME.METHOD or " \
                           "FILENAME.CLASS.METHOD where FILENAME corresponds with an existing Ruby " \
                           "source file FILENAME.rb, CLASS is an optional module/class namespace and " \
                           "METHOD is a callable method. If using CLASS, METHOD must be a class-level " \
                           "method."
    end
    @handler_file_name, *names = parts
    @handler_method_name = names.pop
    @handler_class = names.first
  end

  def call_handler(request:, context:)
    owner = @handler_class ? Kernel.const_get(@handler_class) : self
    AwsLambda::Marshaller.marshall_response(
      owner.__send__(@handler_method_name, event: request, context: context)
    )
  end
end

# How the lines of loggers look.
class LambdaLogFormatter < Logger::Formatter
  def call(severity, time, progname, message)
    place = "#{format_datetime(time)} ##{Process.pid}"
    "#{severity[0]}, [#{place}] #{severity.rjust(5)} #{$_global_aws_request_id} -- #{progname}: " \
      "#{msg2str(message)}\n".encode("UTF-8", invalid: :replace, undef: :replace)
  end
end

module LambdaRuntime
  CRITICAL_STATUS = 255
  INIT_STATUS = 252
  TRACE_LINES = 100
  NAMED = %w[ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit
             SystemStackError].freeze

  # Hands the platform one log event at a time, whatever line ends it holds, between what is printed
  # to stderr.
  module Sink
    FRAME = [0xa55a0001].pack("L>").freeze

    module_function

    def write(message)
      text = message.to_s
      STDERR.write("".b << FRAME << [text.bytesize].pack("L>") << text.b)
      text.bytesize
    end

    def close; end

    def reopen(_log = nil) = self
  end

  # `puts` outside of an IO.
  module Puts
    private

    def puts(*parts)
      lines = parts.flatten.map { |part| part.to_s.encode("UTF-8").chomp }
      Sink.write("#{lines.join("\n")}\n")
      nil
    end
  end

  # Loggers of the process's own output.
  module Loggers
    def initialize(device, *arguments, **options)
      return super unless device.nil? || device.equal?($stdout) || device.equal?($stderr)

      super(Sink, *arguments, **options)
      @default_formatter = LambdaLogFormatter.new
    end
  end

  # What an invocation comes with.
  Event = Struct.new(:headers, :body) do
    def [](name) = headers[name.downcase]
    def id = self["Lambda-Runtime-Aws-Request-Id"]
  end

  # An exception as it is told and logged.
  class Fault
    def initialize(error, kind)
      @name = error.class.to_s
      @kind = kind
      @message = error.message.encode("UTF-8", invalid: :replace, undef: :replace).scrub
      @trace = (error.backtrace_locations || []).first(TRACE_LINES).map(&:to_s)
    end

    def header = NAMED.include?(@name) ? "#{@kind}<#{@name}>" : "Function<UserException>"

    def to_h = { errorMessage: @message, errorType: "#{@kind}<#{@name}>", stackTrace: @trace }

    def log(words)
      Sink.write("#{words}\n")
      Sink.write("#{JSON.pretty_generate(to_h)}\n")
    end
  end

  # One kept connection. How long the next event takes is not ours to say: no time-outs.
  class Api
    def initialize(address)
      @address = address
      host, _, port = address.rpartition(":")
      @socket = TCPSocket.new(host, port.to_i)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
    end

    def next_event
      status, headers, body = call("GET", "invocation/next")
      raise IOError, "no event: #{status} #{body}" unless status == 200

      Event.new(headers, body)
    end

    def respond(id, body, type)
      call("POST", "invocation/#{id}/response", body, "Content-Type" => type)
    end

    def fail(place, fault)
      headers = { "Content-Type" => "application/json",
                  "Lambda-Runtime-Function-Error-Type" => fault.header }
      call("POST", place, JSON.generate(fault.to_h), headers)
    end

    private

    def call(method, path, body = "", headers = {})
      lines = headers.map { |name, value| "#{name}: #{value}\r\n" }.join
      head = "#{method} /2018-06-01/runtime/#{path} HTTP/1.1\r\nHost: #{@address}\r\n#{lines}" \
             "Content-Length: #{body.bytesize}\r\n\r\n"
      @socket.write(head.b << body.b)
      receive
    end

    def receive
      status = line.split(" ", 3)[1].to_i
      headers = {}
      until (header = line).empty?
        name, value = header.split(":", 2)
        headers[name.downcase] = value.strip
      end
      size = headers.fetch("content-length", "0").to_i
      body = size.zero? ? "" : @socket.read(size)
      raise EOFError, "the runtime API has gone" if body.nil? || body.bytesize < size

      [status, headers, body.force_encoding("UTF-8")]
    end

    def line
      (@socket.gets("\r\n") || raise(EOFError, "the runtime API has gone")).chomp("\r\n")
    end
  end

  module_function

  def serve(api, handler)
    event = api.next_event
    $_global_aws_request_id = event.id
    trace = event["Lambda-Runtime-Trace-Id"]
    ENV["_X_AMZN_TRACE_ID"] = trace if trace
    request = AwsLambda::Marshaller.marshall_request(event)
    begin
      answer, type = handler.call_handler(request: request, context: LambdaContext.new(event))
    rescue NameError => e # which no other event would find either
      fail_critically(api, event, e)
    rescue StandardError => e
      fault = Fault.new(e, "Function")
      fault.log("Error raised from handler method")
      return api.fail("invocation/#{event.id}/error", fault)
    rescue Exception => e # exit, no memory, a file that does not load: nothing to go on with
      fail_critically(api, event, e)
    end
    answer = answer.read if type == "application/unknown"
    api.respond(event.id, answer, type || "application/json")
  end

  def fail_critically(api, event, error)
    fault = Fault.new(error, "Function")
    fault.log("Critical exception from handler")
    api.fail("invocation/#{event.id}/error", fault)
    exit(CRITICAL_STATUS)
  end

  def load_handler(api)
    handler = LambdaHandler.new(env_handler: ENV.fetch("_HANDLER"))
    require handler.handler_file_name
    handler
  rescue Exception => e # also of scripts that do not parse
    fault = Fault.new(e, "Init")
    fault.log("Init error when loading handler #{ENV["_HANDLER"]}")
    api.fail("init/error", fault)
    exit(INIT_STATUS)
  end

  def run
    $stdout.sync = true
    Kernel.prepend(Puts)
    Logger.prepend(Loggers)
    task_root = ENV.fetch("LAMBDA_TASK_ROOT")
    $LOAD_PATH.unshift(task_root) unless $LOAD_PATH.include?(task_root)
    api = Api.new(ENV.fetch("AWS_LAMBDA_RUNTIME_API"))
    handler = load_handler(api)
    loop { serve(api, handler) }
  rescue SignalException => e
    puts "Next invocation HTTP request from the runtime interface client was interrupted with a " \
         "#{e} SIGNAL, gracefully shutting down."
    exit(0)
  end
end

LambdaRuntime.run
