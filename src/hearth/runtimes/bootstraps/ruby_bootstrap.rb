# frozen_string_literal: true

# What runs a Ruby function: a client of the Runtime API in Ruby's own library.
#
# The contract is that of AWS's client: the task root is on the load path; the handler is
# `file.method` or `file.Module::Class.method`, called with `event:` and `context:`; what it raises
# is reported as `Function<Class>`, and what loading it raises as `Init<Class>`.

require "json"
require "socket"

module LambdaRuntime
  # What a handler is told about its invocation.
  class Context
    attr_reader :aws_request_id, :invoked_function_arn, :deadline_ms, :identity, :client_context,
                :tenant_id

    def initialize(headers)
      @aws_request_id = headers["lambda-runtime-aws-request-id"]
      @invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
      @deadline_ms = headers["lambda-runtime-deadline-ms"].to_i
      @identity = parsed(headers["lambda-runtime-cognito-identity"])
      @client_context = parsed(headers["lambda-runtime-client-context"])
      @tenant_id = headers["lambda-runtime-aws-tenant-id"]
    end

    def function_name = ENV["AWS_LAMBDA_FUNCTION_NAME"]
    def function_version = ENV["AWS_LAMBDA_FUNCTION_VERSION"]
    def memory_limit_in_mb = ENV["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    def log_group_name = ENV["AWS_LAMBDA_LOG_GROUP_NAME"]
    def log_stream_name = ENV["AWS_LAMBDA_LOG_STREAM_NAME"]

    def get_remaining_time_in_millis
      [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
    end

    private

    def parsed(text)
      text.nil? || text.empty? ? nil : JSON.parse(text)
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

      [headers, body]
    end

    def respond(id, body, type)
      call("POST", "invocation/#{id}/response", body, "Content-Type" => type)
    end

    def fail(place, error, kind)
      type = "#{kind}<#{error.class}>"
      fault = { errorMessage: text(error.message), errorType: type, stackTrace: error.backtrace || [] }
      warn("#{type}: #{error.full_message(highlight: false)}")
      headers = { "Content-Type" => "application/json", "Lambda-Runtime-Function-Error-Type" => type }
      call("POST", place, JSON.generate(fault), headers)
    end

    private

    def text(message) = message.encode("UTF-8", invalid: :replace, undef: :replace).scrub

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

  # Finds the method that `_HANDLER` names.
  class Handler
    def initialize(handler, task_root)
      file, *names = handler.split(".")
      unless [1, 2].include?(names.size)
        raise ArgumentError, "#{handler} is no handler: it is FILE.METHOD or FILE.CLASS.METHOD"
      end
      $LOAD_PATH.unshift(task_root) unless $LOAD_PATH.include?(task_root)
      require file
      @method = names.pop
      @owner = names.empty? ? Kernel : Object.const_get(names.first)
      return if @owner.respond_to?(@method, true)

      raise NoMethodError, "#{file}.rb has no method #{[*names, @method].join(".")}"
    end

    def call(event, context) = @owner.send(@method, event: event, context: context)
  end

  module_function

  def answer_of(result)
    return [result.read, "application/unknown"] if result.is_a?(IO) || result.is_a?(StringIO)

    [JSON.generate(result), "application/json"]
  end

  def serve(api, handler)
    headers, body = api.next_event
    id = headers["lambda-runtime-aws-request-id"]
    ENV["_X_AMZN_TRACE_ID"] = headers["lambda-runtime-trace-id"]
    begin
      answer, type = answer_of(handler.call(JSON.parse(body), Context.new(headers)))
    rescue StandardError => e
      return api.fail("invocation/#{id}/error", e, "Function")
    rescue Exception => e # exit, no memory, a file that does not load: nothing to go on with
      api.fail("invocation/#{id}/error", e, "Function")
      exit!(1)
    end
    api.respond(id, answer, type)
  end

  def run
    $stdout.sync = $stderr.sync = true
    api = Api.new(ENV.fetch("AWS_LAMBDA_RUNTIME_API"))
    begin
      handler = Handler.new(ENV.fetch("_HANDLER"), ENV.fetch("LAMBDA_TASK_ROOT"))
    rescue Exception => e # also of scripts that do not parse
      api.fail("init/error", e, "Init")
      exit!(1)
    end
    loop { serve(api, handler) }
  end
end

require "stringio"
LambdaRuntime.run
